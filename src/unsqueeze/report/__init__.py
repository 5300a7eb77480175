"""The report: what training did, as one HTML file, as figures and as tables.

``gather`` reads runs and evaluations into values; ``charts``, ``tables`` and ``statements`` are what they say; ``page``
writes it all into one file. Every number is one that ``summary.json`` or ``compare`` has.
"""
