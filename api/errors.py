handle_exception = None
