"""Encryption: objects sealed as streams, keys wrapped by a passphrase, documents with a MAC.

The format is specified in ``docs/format/``; every constant and label here comes from there. Start with
:mod:`~recyclic_backups.envelope.seal` and :mod:`~recyclic_backups.envelope.unseal` (large objects),
:mod:`~recyclic_backups.envelope.keyring` (keys) and :mod:`~recyclic_backups.envelope.document` (JSON).
"""
