"""Secure aggregation: a server learns the sum of its clients' integers, and no client's own.

    settings = secure.Settings(session=run, round=3, plan=codec.fingerprint, length=integers.size, bits=16, clients=len(cohort))
    client = secure.Client(settings, 17)                             # at each client, in this order
    to_server(client.advertise())
    to_server(client.share(from_server()))
    to_server(client.masked_input(from_server(), secure.to_words(integers.encode(update, client=17), 16)))
    to_server(client.unmask(from_server()))

Client, Server: the two ends of a round (Bonawitz et al. 2017 on the sparse graph of Bell et al. 2020); Server says how it is driven.
Settings: what they agree on.     to_words, from_words, word_bits: integers mod 2^bits.

fewbits.Integers makes integers of updates, fewbits.flower.SecureFedAvg drives it all over a network, and fewbits.privacy adds noise. Who
the clients are, and that nobody else reads their messages, is for the caller to see to; an active server is not covered.
"""

try:
    from fewbits._secure import Client, Server, Settings, from_words, to_words, word_bits
except ImportError as error:
    raise ImportError(f"this installation has no secure aggregation ({error}): Botan 2 or 3 was not found when the package was built, or is not "
                      "there now; on Debian and Ubuntu `apt-get install libbotan-2-dev`, before `pip install .`") from error

__all__ = ["Client", "Server", "Settings", "from_words", "to_words", "word_bits"]

for _class in (Client, Server, Settings):
    _class.__module__ = "fewbits.secure"
del _class
