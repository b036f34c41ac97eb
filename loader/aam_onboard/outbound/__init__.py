"""The way back: what Audience Manager says of traits and segments, from outbound files into the warehouse.

names.py: the grammar of their names · control.py: the `.info` · unpack.py and lines.py: their text · ledger.py: what
has been received. The use case is receive.py, beside this folder.
"""
