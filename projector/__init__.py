"""The projector: folds the log into the read model, and makes that model again from sequence 1."""
