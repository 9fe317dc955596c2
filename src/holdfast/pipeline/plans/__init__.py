"""Plans that ship: the commented template and the embedded model's."""
