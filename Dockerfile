# An image that serves models. Build it in this directory; mount a checkpoint or an exported directory at /model:
#
#     docker build -t classifier .
#     docker run -p 8000:8000 -v "$PWD/textcnn_onnx:/model:ro" classifier
#     docker run -p 8000:8000 -v "$PWD/sample/saved_dict:/model:ro" classifier --checkpoint /model/TextCNN.ckpt

FROM python:3.11-slim

RUN useradd --system --no-create-home classifier
WORKDIR /app

# --build-arg TORCH_INDEX=URL installs torch from an index of its builds, such as that for CPUs, a tenth of the size
ARG TORCH_INDEX
COPY requirements.txt requirements-serve.txt ./
RUN if [ -n "$TORCH_INDEX" ]; then pip install --no-cache-dir torch==2.13.0 --index-url "$TORCH_INDEX"; fi \
    && pip install --no-cache-dir -r requirements.txt -r requirements-serve.txt

COPY serve.py ./
COPY cli cli
COPY text text
COPY models models
COPY engine engine
COPY exporting exporting
COPY serving serving

USER classifier
EXPOSE 8000
HEALTHCHECK --start-period=60s CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/readyz')"]
ENTRYPOINT ["python", "serve.py", "--host", "0.0.0.0", "--port", "8000"]
CMD ["--checkpoint", "/model"]
