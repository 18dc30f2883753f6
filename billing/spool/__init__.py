"""What a process knows of its open requests, on its own disk (docs/decisions/0008-spool.md).

writer.py is the owner's side, abandoned.py that of whoever finds a spool whose owner is gone; under both lie disk.py
(segments, room, group commit), segment.py, folder.py (folders and locks) and format.py (the bytes).
"""
