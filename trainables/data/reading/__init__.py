"""Reading of sources: their files, the rows of every format, and the texts of a row. Nothing is cached here."""
