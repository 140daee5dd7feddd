cd /opt/ml/input/data/llmcloud && echo "$0  $0.pyz" | sha256sum -c - && exec python3 $0.pyz "$@"
