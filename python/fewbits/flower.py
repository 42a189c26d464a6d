"""fewbits in Flower: clients send frames of a few bits a coordinate in the place of models. One line at either end.

    app = ClientApp(mods=[fewbits.flower.FewbitsMod()])                                  # client: the first of the mods

    strategy = fewbits.flower.FewbitsStrategy(FedAdam(...), "trellis:bits=2")            # server: any strategy, or
    strategy = fewbits.flower.FewbitsFedAvg("trellis:bits=0.03,scale=profile", ...)      # FedAvg with the memory of one model, or
    strategy = fewbits.flower.SecureFedAvg(clip=1.0, bits=16, min_cohort=10, ...)        # whose server sees sums alone

What travels: with the model the server sends the plan, the round and, for plans with scale=profile, the scales learned so far
(one ConfigRecord). A client's reply has one array of bytes in the place of its arrays: the frame of what training changed. Both
ends draw the same randomness from the run's id, the round and the node's id, so that nothing of it is sent. Tensors of integers
(counters of batch norms) pass exactly; floats come back in the type they had.

Checked with flwr 1.42. The server refuses frames that are damaged, of another round, node or model: such a client is left out of
the round, and the log says so. When no update at all can be used before the first one could, the run is stopped with the reason,
which names the mend: no FewbitsMod at the clients, or another mod in front of it.

Buffers that must not be negative or noisy, such as running variances of batch norms, want a rule of their own:
"*running_*=f32; *=trellis:bits=0.03,scale=profile".

Differential privacy of nodes: FewbitsFedAvg(plan, clip=1.0, epsilon=4, delta=1e-5, probability=0.1), and the same of SecureFedAvg. Its
messages are four a round; a node's secrets are in its context between them, and a context that comes to processes late costs the node
the round. With Flower's own differential privacy: client-side clipping goes behind, mods=[FewbitsMod(), fixedclipping_mod]; strategies that clip
at the server go inside, FewbitsStrategy(DifferentialPrivacyServerSideFixedClipping(...), plan).
"""

import typing

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MessageType, RecordDict

import fewbits
from fewbits._flower_arrays import FRAME, KEY, Refused, bytes_array, differences, layout, refusal, whole
from fewbits._flower_server import FewbitsFedAvg, FewbitsStrategy, Round, SecureFedAvg

__all__ = ["FewbitsFedAvg", "FewbitsMod", "FewbitsStrategy", "Round", "SecureFedAvg"]

for _class in (FewbitsFedAvg, FewbitsStrategy, Round, SecureFedAvg):
    _class.__module__ = "fewbits.flower"
del _class


class FewbitsMod:
    """Sends what training has changed as a frame, or masked. The first of a ClientApp's mods, so that it sees what the others have done.

    The plan comes from the server's strategy, FewbitsStrategy, FewbitsFedAvg or SecureFedAvg. Messages that are not for training pass.
    Where the strategy asks for error feedback, the memory is kept in the node's context as bfloat16: 2 bytes a coordinate, which
    travel with the context to the process that runs the app. So do the secrets of a secure round, some 100 bytes a neighbour.

    secure_only: refuses a server that asks for anything but a masked update. min_cohort: and one that would open sums of fewer clients.
    """

    def __init__(self, *, secure_only: bool = False, min_cohort: int = 3) -> None:
        self.secure_only, self.min_cohort = secure_only, min_cohort

    def __call__(self, message: Message, context: Context, call_next: typing.Callable[[Message, Context], Message]) -> Message:
        if message.metadata.message_type.split(".")[0] != MessageType.TRAIN:
            return call_next(message, context)
        if KEY not in message.content.config_records:
            return refusal(message, "the server's strategy does not know of FewbitsMod: wrap it, FewbitsStrategy(strategy, plan)")
        request = message.content.config_records[KEY]
        del message.content[KEY]   # mods for privacy count the ConfigRecords
        try:
            if "phase" in request:
                from fewbits import _flower_secure   # which needs Botan

                return _flower_secure.answer(message, context, request, self.min_cohort, lambda: self._train(message, context, call_next))
            if self.secure_only:
                return refusal(message, "the server asks for an update that is not masked, and FewbitsMod(secure_only=True) sends none")
            trained = self._train(message, context, call_next)
            if isinstance(trained, Message):
                return trained
            key, arrays, base, content = trained
            if "clip" in request:
                frame = self._encode_clipped(differences(arrays, base, floats_only=True), base, request, content, message.metadata.run_id, context)
                content = RecordDict()   # metrics would tell what the noise is to hide
            else:
                frame = self._encode(differences(arrays, base), base, request, message.metadata.run_id, context)
        except (Refused, TypeError, ValueError, ImportError) as error:
            return refusal(message, str(error))
        return Message(RecordDict({**content, key: ArrayRecord({FRAME: bytes_array(frame)})}), reply_to=message)

    @staticmethod
    def _train(message: Message, context: Context, call_next: typing.Callable[[Message, Context], Message]
               ) -> tuple[str, ArrayRecord, ArrayRecord, RecordDict] | Message:
        """(key, new arrays, arrays that came, content of the reply), or a reply with an error."""
        if len(message.content.array_records) != 1:
            raise Refused(f"{len(message.content.array_records)} ArrayRecords came, expected one: the model")
        base = next(iter(message.content.array_records.values()))
        reply = call_next(message, context)
        if reply.has_error():
            return reply
        if len(reply.content.array_records) != 1:
            raise Refused(f"training returned {len(reply.content.array_records)} ArrayRecords, expected one: the model")
        (key, arrays), = reply.content.array_records.items()
        return key, arrays, base, reply.content

    @staticmethod
    def _codec(request: ConfigRecord, base: ArrayRecord, floats_only: bool = False) -> tuple[fewbits.Codec, fewbits.Codec]:
        """Without the profile that came, and with it."""
        plain = codec = fewbits.Codec(str(request["plan"]), layout(base, floats_only))
        profile = typing.cast(bytes, request["profile"])
        if profile:
            codec = plain.with_profile(fewbits.Profile.from_bytes(plain, profile))
        return plain, codec

    @staticmethod
    def _keys(request: ConfigRecord, run: int, context: Context) -> dict[str, typing.Any]:
        return {"seed": run, "round": whole(request, "round"), "client": context.node_id, "cohort": (whole(request, "cohort-index"), whole(request, "cohort-size"))}

    def _encode_clipped(self, update: dict[str, np.ndarray], base: ArrayRecord, request: ConfigRecord, content: RecordDict, run: int,
                        context: Context) -> bytes:
        from fewbits import _flower_secure

        _, codec = self._codec(request, base, floats_only=True)
        values = _flower_secure.clipped(codec.flatten(update), layout(base, floats_only=True), request, content)
        return codec.encode(values, **self._keys(request, run, context))

    def _encode(self, update: dict[str, np.ndarray], base: ArrayRecord, request: ConfigRecord, run: int, context: Context) -> bytes:
        plain, codec = self._codec(request, base)
        keys = self._keys(request, run, context)
        if not request["feedback"]:
            return codec.encode(update, **keys)
        memory = fewbits.ErrorFeedback(codec, storage="bfloat16")
        start, profile = typing.cast(bytes, request["start"]), typing.cast(bytes, request["profile"])
        kept = context.state.array_records.get(KEY)
        if kept is not None and kept["start"].data == start:   # not of an earlier training of this run
            if kept["profile"].data:
                plain = plain.with_profile(fewbits.Profile.from_bytes(plain, kept["profile"].data))
            memory = fewbits.ErrorFeedback(plain, storage="bfloat16")
            memory.restore(kept["memory"].data)
            memory.set_codec(codec)
        frame = memory.encode(update, **keys)
        # Whether the frame arrives is not known before the next round; one that is lost is not sent again.
        memory.commit()
        context.state[KEY] = ArrayRecord({"memory": bytes_array(memory.save()), "profile": bytes_array(profile), "start": bytes_array(start)})
        return frame
