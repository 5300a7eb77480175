"""Files that other trainers import as plugins, in a folder of their own: those trainers put it on Python's path."""
