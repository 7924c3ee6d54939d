"""Runs one of the Paho suites against a gateway, test by test, and says of each whether it ended as it should.

    suite.py FOLDER 3|5 PORT

FOLDER is `interoperability` of eclipse/paho.mqtt.testing. The suites read their options by rules of their own and cannot take
another port beside unittest's; so this sets what they would have set.
"""

import contextlib
import importlib
import io
import logging
import sys
import unittest

# Tests that must fail; "The Paho suites" in docs/mqtt.md has the reasons.
EXCEPTIONS = {"3": set(), "5": {"test_subscribe_failure"}}
# Tests whose names unittest does not find.
UNNAMED = {"3": ["will_message_test"], "5": []}

LEVELS = ["TopicA", "TopicA/B", "Topic/C", "TopicA/C", "/TopicA"]
FILTERS = ["TopicA/+", "+/C", "#", "/#", "/+", "+/+", "TopicA/#"]


class Result(unittest.TestResult):
    """Says of each test whether it ended as it should; what a test says itself is shown only if it did not."""

    def __init__(self, exceptions):
        super().__init__()
        self.exceptions = exceptions
        self.as_they_should = 0
        self.wrong = 0

    def startTest(self, test):
        super().startTest(test)
        self.faults_before = len(self.failures + self.errors)
        self.said = io.StringIO()
        self.quiet = contextlib.ExitStack()
        self.quiet.enter_context(contextlib.redirect_stdout(self.said))
        self.quiet.enter_context(contextlib.redirect_stderr(self.said))

    def stopTest(self, test):
        self.quiet.close()
        super().stopTest(test)
        name = test._testMethodName
        failed = len(self.failures + self.errors) > self.faults_before
        if failed == (name in self.exceptions):
            self.as_they_should += 1
            print(f"{name}: {'fails, as it should' if failed else 'ok'}", flush=True)
        else:
            self.wrong += 1
            print(f"{name}: {self.said.getvalue() + 'FAILED' if failed else 'passed, but is an exception'}", flush=True)


def main(folder, version, port):
    sys.path.insert(0, folder)
    logging.disable()
    suite = importlib.import_module("client_test" if version == "3" else "client_test5")
    suite.host, suite.port = "127.0.0.1", int(port)
    suite.topics, suite.wildtopics, suite.topic_prefix = LEVELS, FILTERS, "client_test5/"
    suite.nosubscribe_topics = ("test/nosubscribe",)

    tests = unittest.defaultTestLoader.loadTestsFromTestCase(suite.Test)
    tests.addTests(suite.Test(name) for name in UNNAMED[version])
    result = Result(EXCEPTIONS[version])
    tests.run(result)
    whole = result.as_they_should == tests.countTestCases()
    if not whole and result.wrong == 0:
        # What failed belongs to no test.
        print("\n".join(text for _, text in result.errors))
    name = {"3": "3.1.1", "5": "5.0"}[version]
    exceptions = len(EXCEPTIONS[version])
    print(f"MQTT {name}: {result.as_they_should} of {tests.countTestCases()} as they should, {exceptions} of them exceptions")
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
