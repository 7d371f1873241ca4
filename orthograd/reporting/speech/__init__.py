"""The report of the speech experiments: tables, figures, transcripts, and the claims that they decide."""
