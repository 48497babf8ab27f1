"""The last module that a process loads from which others are forked.

What was loaded is never looked at again by the garbage collectors of its children: so its memory stays shared, where
otherwise each child would copy all of it.
"""

import gc

gc.collect()
gc.freeze()
