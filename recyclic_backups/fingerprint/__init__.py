"""The fingerprint: what a database contained in a dump's own snapshot, and how two of them compare.

Pure: :mod:`names`, :mod:`document`, :mod:`model` (what a manifest holds), :mod:`schema_text`, :mod:`compare`
and :mod:`definitions`.
Reading a server: :mod:`snapshot` (lock, then hold a snapshot), :mod:`read` (everything it contains).

A backup reads it like this::

    with reading_session(server, database) as connection:
        before = read_sequences(connection)
        with snapshot(server, database, lock_timeout_seconds=60) as held:
            # pg_dump --snapshot=held.identifier runs beside this line, in another thread
            fingerprint = read_fingerprint(
                server, database, level="content", held=held, sequences_before=before
            )
        fingerprint = fingerprint.with_sequences_after(read_sequences(connection))
        fingerprint = fingerprint.with_schema(schema_entries(text_of_a_schema_dump_of_the_snapshot))

and a restore like this::

    actual = read_fingerprint(server, restored, level=expected.level, schema_text=its_schema_dump)
    comparison = compare(expected, actual, same_major=True)
"""
