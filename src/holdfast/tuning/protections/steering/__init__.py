"""Preventative steering: an unwanted direction is added while training, so none need be learnt."""
