"""How components live and talk: process, client, informers, work queues, reconcile loops."""
