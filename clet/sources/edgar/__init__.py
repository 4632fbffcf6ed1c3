"""SEC EDGAR: listings of filings, submissions, and the readable text of what companies file."""
