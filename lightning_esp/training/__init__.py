"""What a training run gives to an export: the module, what it sees, its weights, and a way to run the user's own steps.

Known to `callback` and `task_metrics` only; with these the only importer of Lightning.
"""
