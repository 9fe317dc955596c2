"""Tools and retrieval: are calls valid, right and harmless, and are injected orders obeyed?"""
