"""Feature flags: new behaviours that are switched on and off at once, without deploying anything."""
