"""Rollout files of trainers, each format in a room of its own.

A reader is a generator of ``Record`` in one form, that of ``interop.rollout_files``, with what trainers add to it:

    ``rendered``     the prompt is text that a chat template made already, or holds no special tokens any more
    ``call``         the log call that wrote the line, where calls overlap
    ``gold``         the gold answer, where the file has it
"""
