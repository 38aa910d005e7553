"""What each metric for Prometheus means: its HELP. In English, as everything in Prometheus is. Pure."""

from __future__ import annotations

from collections.abc import Mapping

HELP: Mapping[str, str] = {
    "up": "1 when the storage answered and was measured, 0 when it did not or is not there.",
    "measured_timestamp_seconds": "When this was measured.",
    "total_backups": "Backups in the catalog.",
    "total_size_bytes": "What all backups take in the storage.",
    "available_space_bytes": "Free space where the backups are.",
    "space_warning_bytes": "Free space below which health warns (ALERT_DISK_SPACE_WARNING).",
    "space_critical_bytes": "Free space below which health is critical (ALERT_DISK_SPACE_CRITICAL).",
    "latest_backup_info": "The newest verified backup, in the label backup_id.",
    "latest_backup_timestamp_seconds": "The moment that the newest verified backup is of.",
    "backup_age_seconds": "Age of the newest verified backup when this was measured.",
    "age_warning_seconds": "Age above which health warns (ALERT_BACKUP_AGE_WARNING).",
    "age_critical_seconds": "Age above which health is critical (ALERT_BACKUP_AGE_CRITICAL).",
    "backup_size_bytes": "What the newest verified backup takes in the storage.",
    "backup_dumped_bytes": "What pg_dump wrote for it, before compression.",
    "backup_compression_ratio": "How much smaller it is than what pg_dump wrote, 0 to 1.",
    "backup_duration_seconds": "How long taking it took.",
    "backup_duration_objective_seconds": "How long it may take.",
    "proven_backup_timestamp_seconds": "The moment that the newest backup proven by a restore is of.",
    "proven_timestamp_seconds": "When a restore was last proven.",
    "unproven_since_timestamp_seconds": "When a restore was last proven; before the first proof, the moment that the "
    "oldest backup is of.",
    "proof_warning_seconds": "Time without a proven restore after which health warns.",
    "daily_backups_last_24h": "Verified daily backups of the last 24 hours.",
    "weekly_backups_last_7d": "Verified weekly backups of the last 7 days.",
    "monthly_backups_last_30d": "Verified monthly backups of the last 30 days.",
    "old_backups_to_clean": "Backups that the expiry plan lets go.",
    "held_backups": "Backups that somebody holds back from expiring.",
    "missing_partitions": "Partitions without a good backup that can still be filled.",
    "wal_age_seconds": "How much of the server's work is not in the archive of WAL yet (WAL_ARCHIVE).",
    "wal_gaps": "Holes in the WAL on the server's own line of timelines.",
    "wal_window_seconds": "From the first to the last moment that WAL and base backups bring back.",
    "wal_held_bytes": "WAL that the database's server keeps on its own disk for the receiver.",
    "base_backup_timestamp_seconds": "When the newest verified base backup began.",
    "availability_ratio": "Share of the last 30 days with a verified backup younger than the critical age.",
    "health_status": "1 for the state that health is in, 0 for the others.",
    "health_issues_count": "Warnings and critical issues together.",
    "health_issues": "Findings by severity; notes are not counted in health_issues_count.",
    "anomalies": "Things unlike the recent history, by severity.",
    "drill_passed": "1 when the last drill of the scenario passed.",
    "drill_compared": "1 when it passed and was compared; 0 where the backup says nothing to compare with.",
    "drill_timestamp_seconds": "When the last drill of the scenario ended.",
    "drill_restore_seconds": "How long bringing the database back took in it.",
    "drill_restore_objective_seconds": "How long that may take.",
    "drill_data_loss_seconds": "How much work would have been missing.",
}
"""Every metric without its prefix, and what it means."""
