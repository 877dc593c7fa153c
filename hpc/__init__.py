"""Where work runs: executors, journal, atomic results, and what the machine grants."""
