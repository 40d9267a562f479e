"""A stub of SGLang's gRPC server: healthy, and with as many facts as SMG asks of a worker.

`grpc_worker.py PORT MODEL_DIRECTORY DP_SIZE`, run by the Python of the peers, listens on loopback until it is ended.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from smg_grpc_proto.generated import sglang_scheduler_pb2 as sglang

_SERVICE = "sglang.grpc.scheduler.SglangScheduler"


def _answers(model: str, dp_size: int) -> dict[str, Message]:
    """Return the one answer to each call."""
    arguments = Struct()
    arguments.update({"tp_size": 1, "dp_size": dp_size})
    return {
        "HealthCheck": sglang.HealthCheckResponse(healthy=True),
        "GetModelInfo": sglang.GetModelInfoResponse(
            model_path=model,
            tokenizer_path=model,
            served_model_name="m",
            model_type="llama",
            is_generation=True,
            max_context_length=4096,
            vocab_size=3,
            eos_token_ids=[2],
        ),
        "GetServerInfo": sglang.GetServerInfoResponse(server_args=arguments),
        "GetLoads": sglang.GetLoadsResponse(),
    }


def _always(answer: Message) -> grpc.RpcMethodHandler:
    return grpc.unary_unary_rpc_method_handler(lambda _request, _context: answer.SerializeToString())


def _main(port: str, model: str, dp_size: str) -> None:
    calls = {name: _always(answer) for name, answer in _answers(model, int(dp_size)).items()}
    healthy = health.HealthServicer()
    for service in ("", _SERVICE):
        healthy.set(service, health_pb2.HealthCheckResponse.SERVING)
    server = grpc.server(ThreadPoolExecutor())
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, calls),))
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    print("listening", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    _main(*sys.argv[1:])
