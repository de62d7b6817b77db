"""API Priority and Fairness: who may have how many seats, who waits, who is turned away, and who was the culprit.

Pure and with `now` (integer nanoseconds) as an argument: objects, schemas, shufflesharding, seats, watches, limits,
demand, queueset, rejections, regulator, configuration, defaults, conversion, validation, simulator, whatif.
At the edge: controller (asyncio), filter (HTTP), metrics, dumps, recorder.
Answers to KEP-1040 and https://kubernetes.io/docs/concepts/cluster-administration/flow-control/.
"""
