"""The admin of prices, quotas and books: which model is shown how."""

from django.contrib import admin

from billing.admin.books import (
    AdjustmentAdmin,
    HoldAdmin,
    LedgerEntryAdmin,
    ProcessAdmin,
    UsageRecordAdmin,
    UsageRollupAdmin,
)
from billing.admin.prices import PriceAdmin
from billing.admin.quotas import QuotaAdmin, QuotaWindowAdmin
from billing.models import (
    Adjustment,
    Hold,
    LedgerEntry,
    Price,
    Process,
    Quota,
    QuotaWindow,
    UsageRecord,
    UsageRollup,
)

admin.site.register(Price, PriceAdmin)
admin.site.register(Quota, QuotaAdmin)
admin.site.register(QuotaWindow, QuotaWindowAdmin)
admin.site.register(UsageRecord, UsageRecordAdmin)
admin.site.register(Hold, HoldAdmin)
admin.site.register(Adjustment, AdjustmentAdmin)
admin.site.register(UsageRollup, UsageRollupAdmin)
admin.site.register(LedgerEntry, LedgerEntryAdmin)
admin.site.register(Process, ProcessAdmin)
