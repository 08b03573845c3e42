"""Reading archives: their files, listings, APIs and queues, politely and without trust."""
