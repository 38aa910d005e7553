"""``make bench``: what a backup, a verification and a restore cost, beside what they could cost at best."""
