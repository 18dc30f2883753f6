"""What is kept and read beside the hot path, in Celery, commands, console and admin.

quotas.py     budgets: set, changed, retired, and what is left of them
ledger.py     grants and refunds, the posting of ended records, the rollups
reconcile.py  whether the books balance (reconcile.sql)
ratios.py     tokens by bytes and deltas, measured for estimates
reports.py    what was used by whom; hours.py: a day of it as a picture
amounts.py    amounts as people write them
"""
