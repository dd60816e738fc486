"""Pages, tables and figures made from what a comparison found."""
