"""A tool: items ranked from comparisons that are found in files, with intervals.

Rows come in through `readers`; `columns` says which column means what, `names` which spellings are one item, and
`comparisons` puts both together. `ranking` fits strengths, `scale` gives them units, `board` ranks them, and `table`
and `figure` show them. It knows no language models; reward models that are learned from comparisons stand in
`feedback`.
"""
