"""How much: prices, quotas, one row per admitted request, and the books made from them.

Money is integer nano-USD, prices integer pico-USD per token or call (billing/prices/pricing.py).
"""

from billing.models.ledger import LedgerEntry
from billing.models.prices import Price, PriceQuerySet, PriceVariant, TokenPrices, ToolPrice, token_price_columns
from billing.models.processes import Process
from billing.models.quotas import Quota, QuotaQuerySet, QuotaWindow
from billing.models.records import (
    Adjustment,
    AdjustmentQuerySet,
    Admitted,
    Hold,
    RecordQuerySet,
    Unposted,
    UsageRecord,
    UsageRecordQuerySet,
)
from billing.models.rollups import ModelRatio, UsageRollup, UsageRollupQuerySet

__all__ = [
    "Adjustment",
    "AdjustmentQuerySet",
    "Admitted",
    "Hold",
    "LedgerEntry",
    "ModelRatio",
    "Price",
    "PriceQuerySet",
    "PriceVariant",
    "Process",
    "Quota",
    "QuotaQuerySet",
    "QuotaWindow",
    "RecordQuerySet",
    "TokenPrices",
    "ToolPrice",
    "Unposted",
    "UsageRecord",
    "UsageRecordQuerySet",
    "UsageRollup",
    "UsageRollupQuerySet",
    "token_price_columns",
]
