"""Who may call a view, and with which method: no view of /v1 is routed without saying so."""

from collections.abc import Callable, Coroutine
from functools import update_wrapper
from typing import Any, Concatenate, ParamSpec

from accounts.authentication import KeyFacts, KeyRefused, Refusal, Scope, bearer, check, masked
from accounts.keys import is_wellformed
from gateway.refusals import MethodNotAllowed, WebSocketRefused
from gateway.request import Request, Response

P = ParamSpec("P")
Answer = Coroutine[Any, Any, Response]
KeyedView = Callable[Concatenate[Request, KeyFacts, P], Answer]
View = Callable[Concatenate[Request, P], Answer]


def allows(scope: Scope) -> Callable[[KeyedView[P]], View[P]]:
    """The view is for keys that have `scope`, and gets what is known of the caller's."""

    def decorated(view: KeyedView[P]) -> View[P]:
        async def keyed(request: Request, /, *args: P.args, **kwargs: P.kwargs) -> Response:
            return await view(request, await _authenticated(request, scope), *args, **kwargs)

        update_wrapper(keyed, view)
        keyed.scope = scope  # type: ignore[attr-defined]
        return keyed

    return decorated


def by_method(**views: View[...]) -> Callable[..., Coroutine[Any, Any, Any]]:  # Django knows no RelayedAnswer
    """One view by method; others are told what is allowed. Each view says whom it `allows`."""
    for method, view in views.items():
        if not isinstance(getattr(view, "scope", None), Scope):
            raise TypeError(f"{method}: {view.__name__} does not say whom it allows.")

    async def dispatch(request: Request, **kwargs: str) -> Response:
        view = views.get(request.method)
        if view is not None:
            return await view(request, **kwargs)
        if request.method == "GET" and request.header(b"upgrade").lower() == "websocket":
            raise WebSocketRefused
        raise MethodNotAllowed(request.method, request.path, ", ".join(views))

    dispatch.views = views  # type: ignore[attr-defined]
    return dispatch


async def _authenticated(request: Request, scope: Scope) -> KeyFacts:
    secret = bearer(request.header(b"authorization"))
    facts = await request.runtime.snapshots.key(secret) if is_wellformed(secret) else None
    if facts is None:
        raise KeyRefused(Refusal.UNKNOWN, masked(secret))
    address = request.address
    refusal = check(facts, address=address, scope=scope, now=request.runtime.request_ids.now())
    if refusal is not None:
        raise KeyRefused(refusal, scope if refusal is Refusal.SCOPE else facts.hint)
    request.runtime.key_use.used(facts.id, address, request.header(b"user-agent"))
    return facts
