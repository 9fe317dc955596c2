"""Stance variance: does the answer to a contested statement follow who the user says to be?"""
