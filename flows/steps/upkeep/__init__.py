"""What keeps index, archive and storage in agreement: reconciling, retiring, sweeping."""
