"""The archive of WAL: received from the server, sealed, looked over, handed out again."""
