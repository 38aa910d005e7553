"""Would a backup work tonight? Settings, server, programs, storage, keys and alerts, each tried."""
