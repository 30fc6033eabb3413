"""What every destination must do in every situation: see suite.py. Situations are the files of cases/."""
