"""The command line: one file per verb; shared nouns are datadir, plan, pki and launcher."""
