"""What the books should say, in plain Python: quotas, windows and requests, and what each call does to them."""

from dataclasses import dataclass, field

TRUTHS = ("reported", "drained", "recovered")


@dataclass(eq=False)
class Window:
    limit: int
    ceiling: int | None  # None: soft
    posted: int = 0
    held: int = 0

    @property
    def room(self):
        return self.limit - self.posted - self.held


@dataclass(eq=False)
class Quota:
    id: object
    scope: object
    level: str
    metric: str
    period: str
    is_hard: bool
    limit: int
    is_credit: bool = False
    is_live: bool = True
    windows: list = field(default_factory=list)
    is_open: bool = False  # its last window is current

    @property
    def window(self):
        return self.windows[-1]

    def begin(self):
        if not self.is_open:
            self.windows.append(Window(self.limit, self.limit if self.is_hard else None))
            self.is_open = True

    def set_limit(self, amount):
        self.limit = amount
        if self.is_open:
            self.window.limit = amount
            if self.is_hard:
                self.window.ceiling = max(amount, self.window.posted + self.window.held)

    def held_for(self, hold):
        amount = {"cost": hold.hold_nano_usd, "tokens": hold.hold_tokens, "requests": 1}[self.metric]
        return amount if self.is_hard else 0


@dataclass(eq=False)
class Share:
    """What a request has of a window."""

    quota: Quota
    window: Window
    held: int

    def posted(self, cost, charged, tokens, requests):
        if self.quota.metric == "cost":
            return charged if self.quota.is_hard else cost
        if self.quota.metric == "tokens":
            return min(tokens, self.held) if self.quota.is_hard else tokens
        return requests


@dataclass(eq=False)
class Request:
    hold: object
    shares: list
    end: object = None
    charged: int = 0
    adjustment: tuple | None = None  # cost, charged and overage: differences

    @property
    def is_bound(self):
        return any(share.quota.is_hard and share.quota.metric == "cost" for share in self.shares)

    def charge(self, cost):
        return min(cost, self.hold.hold_nano_usd) if self.is_bound else cost

    def posted(self, share, end, charged, requests):
        return share.posted(end.cost_nano_usd, charged, end.input_tokens + end.output_tokens, requests)


class Model:
    def __init__(self):
        self.quotas = []
        self.requests = {}
        self.tight = set()  # organizations whose holds are decided one by one from their first refusal on
        self.can_be_tight = False

    def send(self, holds, ends):
        """What becomes of a batch: the refused holds by id, each with what it lacks (None: it has no price)."""
        holds, ends = sorted(holds, key=by_id), sorted(ends, key=by_id)
        tight = [hold for hold in holds if self.can_be_tight and hold.organization_id in self.tight]
        roomy = [hold for hold in holds if hold not in tight]
        if self.goes_fast(roomy, ends):
            open_ends = [end for end in ends if self.is_open(end.id)]
            missed = [end for end in ends if not self.is_open(end.id)]
            for end in open_ends:
                self.end(end)
            for hold in roomy:
                self.admit(hold)
            for end in missed:
                self.end(end)
            return self.hold_exactly(tight)
        ends.sort(key=lambda end: not self.is_open(end.id))
        for end in ends:
            self.end(end)
        return self.hold_exactly(holds)

    def goes_fast(self, holds, ends):
        if any(hold.id in self.requests or not self.could_be_held(hold) for hold in holds):
            return False
        changes, taken = {}, set()
        for end in ends:
            if self.is_open(end.id):
                request = self.requests[end.id]
                for share in request.shares:
                    posted = request.posted(share, end, request.charge(end.cost_nano_usd), int(end.state == "settled"))
                    changes[share.window] = changes.get(share.window, 0) + posted - share.held
        for hold in holds:
            for share in self.shares(hold):
                if share.held:
                    changes[share.window] = changes.get(share.window, 0) + share.held
                    taken.add(share.window)
        return all(changes[window] <= window.room for window in taken)

    def could_be_held(self, hold):
        quotas = self.quotas_of(hold)
        return all(quota.is_open for quota in quotas) and not self.lacks_price(hold)

    def hold_exactly(self, holds):
        for hold in holds:
            for quota in self.quotas_of(hold):
                quota.begin()
        refused = {}
        for hold in holds:
            if hold.id in self.requests:
                continue
            lacking = [share for share in self.shares(hold) if share.held > share.window.room and share.held > 0]
            if self.lacks_price(hold):
                refused[hold.id] = None
            elif lacking:
                refused[hold.id] = {
                    (s.quota.level, s.quota.metric, s.quota.period, s.quota.is_credit, s.quota.limit, s.held,
                     max(0, s.window.room)) for s in lacking
                }  # fmt: skip
            else:
                self.admit(hold)
        self.tight |= {hold.organization_id for hold in holds if hold.id in refused}
        return refused

    def admit(self, hold):
        self.requests[hold.id] = Request(hold, self.shares(hold))
        self.take(self.requests[hold.id].shares)

    def take(self, shares):
        for share in shares:
            share.window.held += share.held

    def end(self, end):
        request = self.requests.get(end.id)
        if request is None:
            return
        if request.end is None:
            request.end, request.charged = end, request.charge(end.cost_nano_usd)
            for share in request.shares:
                share.window.held -= share.held
                share.window.posted += request.posted(share, end, request.charged, int(end.state == "settled"))
            return
        is_truth = end.usage_source in TRUTHS and request.end.usage_source not in TRUTHS
        if is_truth and request.adjustment is None:
            self.adjust(request, end)

    def adjust(self, request, truth):
        was, requests = request.end, int(request.end.state == "settled")
        charged = request.charge(truth.cost_nano_usd)
        for share in request.shares:
            if share.quota.is_hard and share.quota.metric == "cost":
                free = share.window.ceiling - share.window.posted - share.window.held
                charged = min(charged, request.charged + free)
        for share in request.shares:
            change = request.posted(share, truth, charged, 1) - request.posted(share, was, request.charged, requests)
            if share.quota.is_hard:
                change = min(change, share.window.ceiling - share.window.posted - share.window.held)
            share.window.posted += change
        cost, more = truth.cost_nano_usd - was.cost_nano_usd, charged - request.charged
        request.adjustment = (cost, more, cost - more)

    def is_open(self, request_id):
        return request_id in self.requests and self.requests[request_id].end is None

    def lacks_price(self, hold):
        return hold.price_id is None and any(q.is_hard and q.metric == "cost" for q in self.quotas_of(hold))

    def shares(self, hold):
        return [Share(quota, quota.window, quota.held_for(hold)) for quota in self.quotas_of(hold)]

    def quotas_of(self, hold):
        scopes = (hold.organization_id, hold.project_id, hold.api_key_id)
        return [quota for quota in self.quotas if quota.is_live and quota.scope in scopes]


def by_id(item):
    return item.id
