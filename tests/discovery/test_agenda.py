from exporter.discovery.agenda import Agenda


def test_who_is_due_is_taken_once_and_in_the_order_of_the_appointments() -> None:
    agenda = Agenda()
    for pid, due in ((1, 30.0), (2, 10.0), (3, 20.0)):
        agenda.put(pid, due)
    assert agenda.take(9.0) == []
    assert agenda.take(20.0) == [2, 3]
    assert agenda.take(25.0) == []
    assert agenda.take(99.0) == [1]


def test_the_last_appointment_counts() -> None:
    agenda = Agenda()
    agenda.put(1, 10.0)
    agenda.put(1, 0.0)
    agenda.put(2, 10.0)
    agenda.put(2, 50.0)
    assert agenda.take(5.0) == [1]
    assert agenda.take(20.0) == []
    assert agenda.take(50.0) == [2]


def test_who_is_forgotten_is_never_due() -> None:
    agenda = Agenda()
    agenda.put(1, 10.0)
    agenda.drop(1)
    agenda.drop(2)
    assert agenda.take(99.0) == []
