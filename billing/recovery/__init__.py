"""What dead processes left open is ended (docs/decisions/0012-recovery.md).

upkeep.py   what a gateway process does for it beside its requests
replay.py   on the host itself, by the spool of the process
reaping.py  of a host that is lost, by what the database knows
orphan.py   one open request without a process, and its end: from spool or upstream, or by estimate
"""
