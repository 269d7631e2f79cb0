"""Long work for the session's worker, in steps: training, whole folders. No windows."""
