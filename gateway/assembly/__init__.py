"""Creates and connects the parts of one worker. Makes no decision about requests."""
