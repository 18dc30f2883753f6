"""What a request costs: its tokens, reported or estimated, by a price sheet. Pure; everything else may ask it.

tokens.py          what was used
estimation.py      what was used where nobody said
pricing.py         a price sheet, and what tokens and tools cost by it
price_list.py      which sheet is a model's, and when
price_change.py    what a new price changes of the old one
starter_prices.py  the list that comes with Tollgate (starter_prices.json)
"""
