"""Which channels of a network are constant, equal or unread, and how they are taken out."""
