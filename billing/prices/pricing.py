"""What usage costs: exact integers, one rounding per request. Pure.

Prices are pico-USD per token (1 USD per million tokens = 1,000,000 pico-USD per token) or per call of a tool (1 USD per
thousand calls = 1,000,000,000 pico-USD per call), costs nano-USD. docs/prices.md tells how a price is chosen.
"""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Context, Decimal, Inexact

from msgspec import Struct

from billing.prices.tokens import MOST_TOKENS, TokenUsage

PICO_PER_NANO = 1_000
PICO_PER_TOKEN_OF_A_DOLLAR_PER_MILLION = 1_000_000
PICO_PER_CALL_OF_A_DOLLAR_PER_THOUSAND = 1_000_000_000
NANO_PER_USD = 1_000_000_000
MOST_USD = 1_000_000
EXACT = Context(prec=30, traps=[Inexact])  # refuses what it would have to round
TOKEN_KINDS = ("input", "cached_input", "cache_write", "output", "reasoning")
DEFAULT_TIER = "default"
NO_TIER = frozenset({"", "auto"})  # an upstream that says no more has not said which tier it served
SAME_TIER = {"fast": "priority"}  # what is asked for as the one is served and echoed as the other
# What a tier asked for may be served as, beside `default`; any other request may be served as anything.
FIXED_TIERS = frozenset({DEFAULT_TIER, "flex", "priority", "fast"})
# Whose calls may each open a container.
IN_CONTAINERS = frozenset({"code_interpreter", "shell"})
# Calls that cost nothing beside their tokens, or that are billed by their container.
FREE_TOOLS = frozenset(
    {
        "function", "custom_tool", "mcp", "computer", "local_shell", "shell", "apply_patch", "tool_search",
        "code_interpreter",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """Pico-USD per token of each kind. `reasoning` None: it costs what other output costs."""

    input: int
    cached_input: int
    cache_write: int
    output: int
    reasoning: int | None = None

    @property
    def dearest_input(self) -> int:
        return max(self.input, self.cached_input, self.cache_write)

    @property
    def dearest_output(self) -> int:
        return max(self.output, self.reasoning or 0)


class PriceLine(Struct, frozen=True, gc=False):
    """One line of a bill: `quantity` of `kind` at `price_pico_usd` each, the price of `tier` in the bracket named."""

    kind: str
    quantity: int
    price_pico_usd: int
    tier: str = DEFAULT_TIER
    above_input_tokens: int = 0

    @property
    def amount_pico_usd(self) -> int:
        return self.quantity * self.price_pico_usd


@dataclass(frozen=True, slots=True)
class Bracket:
    """What tokens cost in requests with more than so many input tokens, all of the request's tokens."""

    above_input_tokens: int
    price: TokenPrice

    def holds(self, input_tokens: int) -> bool:
        return self.above_input_tokens < input_tokens or self.above_input_tokens == 0


@dataclass(frozen=True, slots=True)
class PriceSheet:
    """All that a request on a model may be billed by.

    `base`: the default tier's price. `tiers`: by service tier, its brackets beside that, the highest first. `tools`:
    pico-USD per call, by the tool's name (the type of its output items without `_call`; `container` for those that
    code ran in).
    """

    base: TokenPrice
    tiers: Mapping[str, tuple[Bracket, ...]] = field(default_factory=dict)
    tools: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        base: TokenPrice,
        variants: Iterable[tuple[str, int, TokenPrice]] = (),
        tools: Mapping[str, int] | None = None,
    ) -> "PriceSheet":
        """From variants (service tier, above so many input tokens, price) in any order."""
        tiers: dict[str, tuple[Bracket, ...]] = {}
        for tier, above, price in sorted(variants, key=lambda variant: -variant[1]):
            tiers[tier] = (*tiers.get(tier, ()), Bracket(above, price))
        return cls(base, tiers, dict(tools or {}))

    def checked(self) -> "PriceSheet":
        """Itself; ValueError where what somebody entered is ambiguous or lacks a part."""
        for tier, brackets in self.tiers.items():
            limits = [bracket.above_input_tokens for bracket in brackets]
            if len(set(limits)) < len(limits) or (tier == DEFAULT_TIER and 0 in limits):
                raise ValueError(f"The tier {tier!r} has two prices for the same requests.")
            if tier != DEFAULT_TIER and 0 not in limits:
                raise ValueError(f"The tier {tier!r} has a price for long requests and none for the others.")
        return self

    @property
    def is_any_price_set(self) -> bool:
        """Whether tokens cost anything here: a model may be free."""
        return any(price.dearest_input or price.dearest_output for price in self._reachable("", MOST_TOKENS))

    def has_tier(self, served: str) -> bool:
        """Whether the tier an upstream says it served has prices here, or it said none."""
        return served in NO_TIER or self._name(served) is not None

    def bracket(self, service_tier: str, input_tokens: int) -> tuple[str, Bracket]:
        """The tier and bracket by which a request is billed; those of `default` where the tier has none."""
        name = self._name(service_tier) or DEFAULT_TIER
        for tier in (name, DEFAULT_TIER):
            for bracket in self.tiers.get(tier, ()):
                if bracket.holds(input_tokens):
                    return tier, bracket
        return DEFAULT_TIER, Bracket(0, self.base)

    def lines(self, usage: TokenUsage, *, service_tier: str, tool_calls: Mapping[str, int]) -> tuple[PriceLine, ...]:
        """The bill of a request, line by line, by the tier served; `tool_calls` by kind, as they were counted."""
        tier, bracket = self.bracket(service_tier, usage.input)
        lines = price_lines(usage, bracket.price, tier, bracket.above_input_tokens)
        if not tool_calls:
            return lines
        called = ((_tool(kind), calls) for kind, calls in sorted(tool_calls.items()))
        return lines + tuple(
            PriceLine(tool, calls, self.tools[tool]) for tool, calls in called if calls and tool in self.tools
        )

    def flags(self, *, service_tier: str, tool_calls: Mapping[str, int]) -> tuple[str, ...]:
        """What a bill by this sheet leaves out: `tier_unpriced` and `tool_unpriced`, for staff to look at."""
        flags: tuple[str, ...] = () if self.has_tier(service_tier) else ("tier_unpriced",)
        if {_tool(kind) for kind, calls in tool_calls.items() if calls} - self.tools.keys() - FREE_TOOLS:
            flags += ("tool_unpriced",)
        return flags

    def upper_bound(
        self,
        *,
        input_tokens: int,
        output_tokens: int,
        tool_calls: int = 0,
        tool_kinds: Collection[str] = (),
        service_tier: str = "",
    ) -> int:
        """Nano-USD that a request costs at the most, each price the dearest that it may get.

        `input_tokens`: with what tools may add. `tool_calls`: at most so many in all, of these kinds; `any` is every
        kind. `service_tier`: as asked for.
        """
        prices = self._reachable(service_tier, input_tokens)
        pico = input_tokens * max(price.dearest_input for price in prices)
        pico += output_tokens * max(price.dearest_output for price in prices)
        if tool_calls:
            pico += tool_calls * self._dearest_call(tool_kinds)
        return -(-pico // PICO_PER_NANO)

    def dearest_output(self, service_tier: str) -> int:
        """Pico-USD that a token of output costs at the most, however long the input is."""
        return max(price.dearest_output for price in self._reachable(service_tier, MOST_TOKENS))

    def _dearest_call(self, kinds: Collection[str]) -> int:
        """A call that runs code is billed its container, and what it may cost itself."""
        tools = self.tools.keys() | IN_CONTAINERS if "any" in kinds else {_tool(kind) for kind in kinds}
        containers = {"container", *(tool for tool in tools if tool.startswith("container_"))}
        container = max(self.tools.get(tool, 0) for tool in containers)
        each = (self.tools.get(tool, 0) + (container if tool in IN_CONTAINERS else 0) for tool in tools)
        return max(each, default=0)

    def _reachable(self, asked: str, most_input: int) -> list[TokenPrice]:
        """Every price that a request which asks for that tier, with so much input or less, may be billed by."""
        if not self.tiers:
            return [self.base]
        names = {asked, SAME_TIER.get(asked, asked), DEFAULT_TIER} if asked in FIXED_TIERS else self.tiers.keys()
        brackets = (bracket for name in names for bracket in self.tiers.get(name, ()))
        return [self.base, *(bracket.price for bracket in brackets if bracket.holds(most_input))]

    def _name(self, tier: str) -> str | None:
        """The name under which a tier's prices are here."""
        for name in (tier, SAME_TIER.get(tier)):
            if name in self.tiers or name == DEFAULT_TIER:
                return name
        return None


def price_lines(
    usage: TokenUsage, price: TokenPrice, tier: str = DEFAULT_TIER, above_input_tokens: int = 0
) -> tuple[PriceLine, ...]:
    """The bill of the tokens, line by line; kinds that were not used have no line."""
    apart = 0 if price.reasoning is None else min(usage.reasoning, usage.output)
    quantities = (
        ("input", usage.uncached, price.input),
        ("cached_input", usage.cached, price.cached_input),
        ("cache_write", usage.cache_write, price.cache_write),
        ("output", usage.output - apart, price.output),
        ("reasoning", apart, price.reasoning or 0),
    )
    return tuple(
        PriceLine(kind, quantity, pico, tier, above_input_tokens) for kind, quantity, pico in quantities if quantity
    )


def cost(lines: tuple[PriceLine, ...]) -> int:
    """Nano-USD: the exact sum of the lines, rounded half up once."""
    return half_up_to_nano(sum(line.amount_pico_usd for line in lines))


def half_up_to_nano(pico: int) -> int:
    return (pico + PICO_PER_NANO // 2) // PICO_PER_NANO


def pico_per_token(usd_per_million: Decimal) -> int:
    """Pico-USD per token of a price as people write it. ValueError where it is out of range or finer than that."""
    return _millionths(usd_per_million, "million tokens")


def pico_per_call(usd_per_thousand: Decimal) -> int:
    """Pico-USD per call of a tool's price as people write it. ValueError as with tokens."""
    return _millionths(usd_per_thousand, "thousand calls") * (PICO_PER_CALL_OF_A_DOLLAR_PER_THOUSAND // 1_000_000)


def usd_per_million(pico: int) -> Decimal:
    """A price as people write it."""
    return Decimal(pico) / PICO_PER_TOKEN_OF_A_DOLLAR_PER_MILLION


def usd_per_thousand(pico: int) -> Decimal:
    """A tool's price as people write it."""
    return Decimal(pico) / PICO_PER_CALL_OF_A_DOLLAR_PER_THOUSAND


def usd(nano: int) -> Decimal:
    """USD, exact, 9 decimals at the most."""
    return Decimal(nano) / NANO_PER_USD


def figure(metric: str, amount: int) -> str:
    """An amount of a quota's metric as people read it: exact."""
    return f"${usd(amount).normalize():f}" if metric == "cost" else f"{amount:,} {metric}"


def _millionths(usd: Decimal, unit: str) -> int:
    """Of a dollar, exactly: the finest that a price is written in."""
    with suppress(Inexact):
        if usd.is_finite() and 0 <= usd <= MOST_USD:
            return int(EXACT.to_integral_exact(EXACT.multiply(usd, Decimal(1_000_000))))
    raise ValueError(f"{usd} USD per {unit}: use a number from 0 to 1,000,000 with at most 6 decimals.")


def _tool(kind: str) -> str:
    return kind.removesuffix("_call")
