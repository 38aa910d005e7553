"""The fingerprint: what a database contained in a dump's own snapshot, and how two of them compare.

Pure: :mod:`names`, :mod:`model` (the document in a manifest), :mod:`schema_text`, :mod:`compare`.
Reading a server: :mod:`snapshot` (lock, then hold a snapshot), :mod:`read` (everything it contains).

A backup reads it like this, with the same ``server`` and ``database`` throughout::

    with snapshot(server, database, lock_timeout_seconds=60) as held:
        # pg_dump --snapshot=held.identifier runs beside the next line
        fingerprint = read_fingerprint(..., snapshot_identifier=held.identifier)

and calls :func:`read.read_sequences` before the snapshot is taken and again after pg_dump has ended.
"""
