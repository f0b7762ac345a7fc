"""What a run keeps: the loop, its log, results, work directory, progress, seeds, baselines."""
