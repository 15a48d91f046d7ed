"""How an option is declared, read and refused; the options themselves are beside what uses them."""
