"""No id of a tenant's is of any use to another: whatever the field, the verb, and the event that the id was seen in."""

import itertools
import json
import random
import uuid
from collections import defaultdict

import pytest

from accounts.models import APIKey, Project
from gateway.wire.references import Kind
from tests.clients.placements import REFUSED_IF_FOREIGN, REFUSED_UNLESS_OWN
from tests.clients.wire import Asked, answers_to
from tests.tenants import Tenant

VERBS = [
    ("/responses", {}), ("/responses", {"stream": True}), ("/responses?beta=true", {}),
    ("/responses/input_tokens", {}), ("/responses/compact", {}),
]  # fmt: skip
ROUTES = [
    ("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items"), ("GET", "?stream=true"),
    ("GET", "?beta=true"), ("GET", "/input_items?limit=1&beta=true"),
]  # fmt: skip
# Together they end in every way, and send every type of event.
SCENARIOS = [
    "sim-everything.queued", "sim-reasoning.tool", "sim-custom.refusal", "sim-compaction", "sim-ok.fail-nested-6",
    "sim-ok.keepalive", "sim-paced-40-0",
]  # fmt: skip
ID_FIELDS = ("id", "item_id", "response_id", "container_id", "file_id", "encrypted_content")


class Victim:
    """A tenant that has said a secret in every way. `seen`: event type -> the ids it showed; `issued`: by kind."""

    def __init__(self, tenant):
        self.secret = tenant.secret
        self.canary = f"canary-{uuid.uuid4().hex}"
        self.seen = defaultdict(list)
        self.issued = defaultdict(set)
        self.responses = []

    async def speak(self, origin):
        body = {
            "input": self.canary,
            "include": ["reasoning.encrypted_content"],
            "stream": True,
            "max_output_tokens": 2000,
        }
        asked = [{**body, "model": model} for model in SCENARIOS]
        asked[-1]["max_output_tokens"] = 16
        for answer in await answers_to(origin, [Asked(self.secret, "POST", "/responses", each) for each in asked]):
            assert answer.status == 200, answer.body
            self.hear(answer.body)

    def hear(self, stream):
        events = [json.loads(line[6:]) for line in stream.decode().splitlines() if line.startswith("data: {")]
        for event in events:
            found = [name for _, name in ids_in(event)]
            self.seen[event["type"]].extend(name for name in found if name not in self.seen[event["type"]])
        last = events[-1]["response"]
        if last["status"] != "failed":
            self.responses.append(last["id"])
        for item in last["output"]:
            self.issued[Kind.CARRIED].add(item["id"])
            if item.get("container_id"):
                self.issued[Kind.CITED].add(item["container_id"])
            if item.get("encrypted_content"):
                self.issued[Kind.CONTENT].add(item["encrypted_content"])


def ids_in(value):
    """(field, id) of all that looks like the name of something, the outermost first."""
    if isinstance(value, list):
        for each in value:
            yield from ids_in(each)
    elif isinstance(value, dict):
        yield from ((name, value[name]) for name in ID_FIELDS if isinstance(value.get(name), str))
        for each in value.values():
            yield from ids_in(each)


def unheard_of(name):
    """As long as `name`, with the same prefix, and nobody's."""
    prefix, _, rest = name.rpartition("_")
    made = "".join(random.choices("0123456789abcdef", k=len(rest)))
    return f"{prefix}_{made}" if prefix else made


@pytest.fixture
def tenants(acme, globex):
    """acme, another project of acme's, and globex."""
    project = Project.objects.create(organization=acme.organization, name="other")
    key, secret = APIKey.objects.issue(project=project, name="bot")
    return acme, Tenant(acme.organization, project, key, secret, acme.url), globex


@pytest.fixture
async def victims(tenants, gateway):
    victims = [Victim(tenant) for tenant in tenants]
    for victim in victims:
        await victim.speak(gateway.origin)
    return victims


def pairs_of(victim, thief, grid):
    """(request, the same with an id that nobody has, the id, the id that nobody has) of each cell of the grid."""
    for verb, place, name in grid:
        other = unheard_of(name)
        path, more = verb
        foreign, unknown = (Asked(thief.secret, "POST", path, {**place.body(each), **more}) for each in (name, other))
        yield foreign, unknown, name, other


def body_grid(victim, thief):
    """Each field with each type of event; the verbs take turns, so that each meets each field and each type."""
    shown = enumerate(shown_in(victim, thief))
    for (row, place), (column, names) in itertools.product(enumerate(REFUSED_UNLESS_OWN), shown):
        turn = row + column
        yield VERBS[turn % len(VERBS)], place, names[turn % len(names)]


def route_pairs(victim, thief):
    for names, (method, rest) in itertools.product(shown_in(victim, thief), ROUTES):
        name, other = names[0], unheard_of(names[0])
        paths = (f"/responses/{each}{rest}" for each in (name, other))
        yield *(Asked(thief.secret, method, path) for path in paths), name, other


def shown_in(victim, thief):
    """The ids that each type of event showed to the victim alone: the upstream has public files too."""
    known = {name for names in thief.seen.values() for name in names}
    alone = [[name for name in names if name not in known] for _, names in sorted(victim.seen.items())]
    return [names for names in alone if names]


async def leaks(origin, victim, pairs):
    """What is wrong with the answers, and the ids of the requests that named what is another's."""
    answers = iter(await answers_to(origin, [request for pair in pairs for request in pair[:2]]))
    wrong, asked = [], set()
    for foreign, _, name, other in pairs:
        one, two = next(answers), next(answers)
        asked.add(one.headers["x-request-id"])
        is_same = one.without(name) == two.without(other)
        if not (400 <= one.status < 500 and is_same and victim.canary.encode() not in one.body):
            wrong.append((foreign.method, foreign.path, foreign.body, one.status, one.body, two.status, two.body))
    return wrong, asked


# Who names whose: another organization's, and another project's of the same organization.
MEETINGS = [(0, 2), (2, 0), (0, 1)]
TURNS = len(MEETINGS)


@pytest.mark.parametrize("share", [1, pytest.param(TURNS, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
async def test_what_is_anothers_is_answered_as_what_is_nobodys(share, victims, gateway, upstream, record_property):
    """Those who meet share the cases among them; in the long profile each has all."""
    cases, wrong, asked = 0, [], set()
    for turn, (one, two) in enumerate(MEETINGS):
        victim, thief = victims[one], victims[two]
        pairs = [*pairs_of(victim, thief, body_grid(victim, thief)), *route_pairs(victim, thief)]
        pairs = [pair for number, pair in enumerate(pairs) if (number + turn) % TURNS < share]
        more_wrong, more_asked = await leaks(gateway.origin, victim, pairs)
        cases, wrong, asked = cases + len(pairs), wrong + more_wrong, asked | more_asked
    assert wrong[:3] == [], f"{len(wrong)} of {cases}"
    assert len(asked) == cases > 2_000
    assert not asked & arrived(upstream)
    record_property(
        "figures", f"{cases} cases, {len(victims[0].seen)} types of event, {len(REFUSED_UNLESS_OWN)} fields"
    )
    for victim in victims:
        await still_has_its_own(gateway.origin, victim)


async def test_what_was_issued_to_another_is_refused_where_clients_make_up_their_own(victims, gateway, upstream):
    asked = []
    for victim, thief in ((victims[0], victims[2]), (victims[2], victims[0])):
        assert set(victim.issued) == set(REFUSED_IF_FOREIGN)
        for kind, verb in itertools.product(REFUSED_IF_FOREIGN, VERBS):
            for place, name in itertools.product(REFUSED_IF_FOREIGN[kind], victim.issued[kind]):
                path, more = verb
                asked.append(Asked(thief.secret, "POST", path, {**place.body(name), **more}))
    answers = await answers_to(gateway.origin, asked)
    passed = [
        (one.path, one.body, answer.body) for one, answer in zip(asked, answers, strict=True) if answer.status != 400
    ]
    assert passed[:3] == [], f"{len(passed)} of {len(asked)}"
    assert not {answer.headers["x-request-id"] for answer in answers} & arrived(upstream)


async def test_the_owner_names_its_own(victims, gateway):
    """The same bodies pass for whom they belong to: it is the ids that are refused, not the requests."""
    for victim in victims:
        bodies = [{"model": "gpt-4.1", "input": "hi", "previous_response_id": name} for name in victim.responses]
        for name in victim.issued[Kind.CARRIED]:
            item = {"type": "item_reference", "id": name}
            bodies.append({"model": "gpt-4.1", "input": [item, {"role": "user", "content": "hi"}]})
        asked = [Asked(victim.secret, "POST", "/responses", body) for body in bodies]
        answers = await answers_to(gateway.origin, asked)
        assert [
            (answer.body, one.body) for answer, one in zip(answers, asked, strict=True) if answer.status != 200
        ] == []


async def still_has_its_own(origin, victim):
    """Nothing that others asked for has deleted it."""
    asked = [Asked(victim.secret, "GET", f"/responses/{name}/input_items") for name in victim.responses]
    for answer in await answers_to(origin, asked):
        assert answer.status == 200
        assert victim.canary.encode() in answer.body


def arrived(upstream):
    """The requests that the upstream got, by our ids."""
    return {line.get("client_request_id") for line in upstream.lines() if line["kind"] == "arrived"}
