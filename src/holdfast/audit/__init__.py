"""Reading a training set before it is trained on: checks of the text, scores of the model.

`audit.checks` and everything imported here need no torch; `audit.scores` does.
"""
