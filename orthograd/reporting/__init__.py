"""From tidy tables of runs to statistics, tables, figures and one self-contained page. Imports no torch."""
